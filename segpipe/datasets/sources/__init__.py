"""Where data sets come from: a module per archive or file layout, all behind one registry."""
