{
  /* a
     comment */
  nodes: [{host: process.env.HOST, port: 1}]
}
