"""The light core of AMELA: manifests, deals, shard results, the run loop and the merge.

Standard library and filelock only, Python 3.9 syntax: it imports in every environment. Read in this order:

    errors    exit statuses, CallError, run_main          log       one line with the time
    files     write aside, sync, rename, link             cli       argument parsers of the scripts
    manifest  records, keys, reading and writing          state     where a stage keeps its state
    results   shard result files, torn tails              beats     heartbeats of tasks
    shards    which shard a process asks for              deals     what the tasks of one submission share
    dealing   how a process comes by its deal             spool     the records of one shard
    workers   child processes that run load/process       keeper    the loop around them
    stage     run_shard: what a map stage calls           signals   what asks a task to stop
    merge     results into the manifest                   compact   tidying the state up afterwards
    summary   what status.py shows                        finish    the line that does what is missing
    slurm     where SLURM is asked or told something      progress  a bar on a terminal, lines in a log

The other modules belong to one tool each: see their first lines.
"""

__version__ = "0.1.0"
