"""Many runs: plans, sweeps, searches, and the processes they run in; recorded policies played again."""
