"""The verb report: photos and their masks on one page, to look at and to tick what is wrong."""
