"""Raw test clients. They speak the bytes of docs/client-protocol.md with parsers of their own, not the product's."""
