"""What the log means: events as types, their folds into tables, the queries on those tables, the plan."""
