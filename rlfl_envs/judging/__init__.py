"""Where rewards are computed that another library or program computes."""
