"""What the flows share: DVC's stages as processes, folders to run them in, words and tables for Prefect."""
