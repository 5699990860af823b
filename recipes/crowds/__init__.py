"""What `how-many-annotators` and `shifted-population` share: crowds with single votes, and short trainings.

A crowd is a table of texts and an array of ratings, one row per item and one column per vote, −1 where there is none.
A recipe is run as a script, which sees its own folder alone: its `run.py` puts the folder of recipes on the path.
"""
