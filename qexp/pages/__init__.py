"""Pages for people: reports and notebooks. Functions of run directories, written as HTML that needs no network."""
