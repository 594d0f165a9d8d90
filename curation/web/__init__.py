"""The web: from lists, pages and archives to links, and from links to images that may be taken."""
