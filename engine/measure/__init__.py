"""Is it any good? Speed, memory and quality as measured, what they are judged by, and the report.

Here belong the records and what follows from them; what touches a model runs in a framework's worker.
"""
