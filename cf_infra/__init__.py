"""conda-forge's CI access as code: grants and stacks in, reviewed cloud changes out."""

__version__ = "0.1.0"
