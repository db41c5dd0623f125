"""Files and a script to many targets by SSH, beside what one would use instead; `make bench-ssh` runs all of it."""
