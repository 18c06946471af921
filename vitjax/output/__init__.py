"""What leaves the program: file names that are unique, text in UTF-8, CSV for spreadsheets, lines and their wording."""
