"""The numbers of the live figures: each module beside the script of its name, which calls it in the page's session."""
