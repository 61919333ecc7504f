# theirs
