"""What returns say of risk: covariance, tails, factors."""
