"""The light core of AMELA: manifests, deals, shard results, the run loop and the merge.

Standard library and filelock only, Python 3.9 syntax: it imports in every environment. Read in this order:

    errors    exit statuses, CallError, run_main          log       one line with the time
    files     write aside, sync, rename, link             cli       argument parsers of the scripts
    manifest  records, keys, reading and writing          state     where a stage keeps its state
    results   shard result files, torn tails              beats     heartbeats of tasks
    shards    which shard this process is                 deals     what the tasks of one submission share
    spool     the records of one shard                    workers   the child processes that run load/process
    keeper    the loop around them                        stage     run_shard: what a map stage calls
    merge     results into the manifest                   summary   what status.py shows
    slurm     the few places where SLURM is called        progress  bar on a terminal, lines in a log
"""

__version__ = "0.1.0"
