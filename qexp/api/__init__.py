"""What `import qexp` offers, and what the commands call: Python can do all that the shell can.

Importing it is quick; each function is loaded when it is used, and loads what it needs when it is
called.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
