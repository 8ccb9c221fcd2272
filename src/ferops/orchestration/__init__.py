"""What the flows share: DVC's stages as processes, folders to run them in, reports and notifications in Prefect."""
