"""Speed and memory, measured: steps of a bundle's subgraphs, and the same beside what others would run."""
