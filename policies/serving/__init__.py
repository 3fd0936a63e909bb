"""A policy served to anyone: one core without a wire, and thin codecs for the clients that the field has.

- `core`: sessions, a bounded queue, batches across clients, deadlines; `batching`: what goes together;
  `judging`: what errors and chunks mean
- `errors`, `arrays`, `protocol`: what server and client share; numpy and msgpack only; `dial`: the
  client's connection
- `keys`: how the names that a client uses become an Observation
- `openpi`, `vla_eval`, `rest`, `native`: one codec each; `app`: all of them as one ASGI application
- `server`: the process: address, TLS, a stop that drains; `options`: its settings; `metrics`: Prometheus

Nothing is imported here, so that the client's half stays light (`policies.remote`).
"""
