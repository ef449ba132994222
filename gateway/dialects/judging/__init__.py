"""Judging answers, dialect by dialect: each module knows the whole answer and, as a `Form`, the stream of its dialect.

An HTTP 200 says little: errors hide in it, answers stop short, lists come back empty. Each dialect has a typed shape
that names only the fields which tell, so that the usual answer costs one decode that builds next to nothing; whatever
does not fit that shape is decoded again into plain values and read with patience.
"""
