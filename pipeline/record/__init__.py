"""The record of how an artifact was made, and how a file carries it.

lineage.py     the record: everything that determined the content, and its checks
carrier.py     the interface of formats that carry a record, and the format of a file
difference.py  the differences between two records
locate.py      the record at a path: a model file, a delivered folder, a run, a lock
older.py       records of earlier schemas, converted to today's
"""
