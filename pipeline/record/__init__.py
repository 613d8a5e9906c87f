"""What an artifact was made of, and how it carries that with it.

lineage.py     the record: everything that decided the content and vouches for it, and nothing else
carrier.py     what a format must offer to carry a record, and which one a file is of
difference.py  what separates two records
locate.py      the record of whatever a person points at: a model file, a delivered folder, a run, a lock
older.py       records of earlier schemas, in the form of today
"""
