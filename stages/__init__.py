"""The stages, in rooms by phase and by format.

A file named by a verb is a stage; a file named by a noun is a part that stages share.
"""
