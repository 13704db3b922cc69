"""Few bits a number, whatever the grid."""
