"""Bodies that are protobuf for services and binary clients, and JSON for WebSocket text clients.

`*.proto` say what the messages are, `topics.json` which topic has which; `descriptors.binpb` is made of the former by
`make protobufs`. A deployment has its own files of the same kind in `protobuf_dir`.
"""
