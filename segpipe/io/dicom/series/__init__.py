"""An image series: from files over planes to one volume."""
