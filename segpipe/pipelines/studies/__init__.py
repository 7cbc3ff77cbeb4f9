"""Studies: candidates compared at their best rates, which validation alone has found, with several seeds."""
