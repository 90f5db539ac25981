"""Tables of weight names, one per family and file layout. Data only."""
