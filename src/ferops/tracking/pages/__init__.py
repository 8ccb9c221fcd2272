"""What people read of a training: its model card, and in MLflow's UI its page, its description, the table of runs."""
