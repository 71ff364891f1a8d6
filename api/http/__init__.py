"""The HTTP way in: requests become commands and queries, outcomes become responses.

Read it in this order: `app` (one request from socket to answer), `routing` (which handler), `requests` (bytes to values), a module of routes such as
`loop`, `changes` (commands, idempotency), `conditional` (entity tags), `problems` (refusals). Decides nothing and knows no SQL.
"""
