"""What every command shares: flags, messages, metrics, run directories, the processes of a run."""
