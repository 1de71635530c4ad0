"""The quality bench: how good is each contender on each data set, with how much training?"""
