"""Several workers of one server: who has least to do serves, whoever was asked. They share no memory but a table.

Workers accept connections from one listening socket, and whichever wakes first takes all that wait there: sixteen that
were opened at once went to one of two. So a worker places every request on the engine that has least left to do, its
own or another's.
"""
