"""Money, as pure rules: what an hour costs, what ran for how long at which price, and sums over that."""
