"""The kinds of dataset, a folder each, and what they share: from specs to objects, and from
networks to results.
"""
