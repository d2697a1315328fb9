"""Many runs that differ in a few settings: which ones, who does each, what came of them. Starts runs, reaches into none."""
