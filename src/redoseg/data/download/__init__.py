"""The paper's data sets fetched from their owners, checked and unpacked."""
