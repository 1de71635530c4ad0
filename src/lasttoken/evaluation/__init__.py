"""Numbers and pages: metrics, honest baselines, the verdict, plots and the report."""
