"""The paper's sets as their owners distribute them: DATA `flowers:DIR`, `lfw:DIR`, `cub:DIR`."""
