"""Why a model said what it said: numbers, and the pictures drawn from them."""
