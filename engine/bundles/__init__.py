"""Bundles: an artifact with everything a machine without a network needs for it, in one tar file.

Here belongs packing one where there is a network, and checking, unpacking and setting up where there is none. Making
environments belongs to `frameworks`, publishing to `library`: both are used, not repeated.
"""
