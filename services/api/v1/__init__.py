"""/v1: pushing, looking and managing over HTTP (docs/http-api.md), with the specification made from this code."""
