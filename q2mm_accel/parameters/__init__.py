"""What is fitted: which parameters may move, how others follow from them, bounds and priors."""
