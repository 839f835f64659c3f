// Reads {method, url, headers, publicKey (PEM), algorithm} as JSON lines from standard input, answers true or false for each.
const { createPublicKey } = require('crypto')
const { createInterface } = require('readline')
const { createVerifier, httpbis } = require('http-message-signatures')

const lines = createInterface({ input: process.stdin })
lines.on('line', async (line) => {
  const request = JSON.parse(line)
  const verify = createVerifier(createPublicKey(request.publicKey), request.algorithm)
  const keyLookup = async (params) => ({ id: params.keyid, algs: [request.algorithm], verify })
  let answer
  try {
    answer = (await httpbis.verifyMessage({ keyLookup }, request)) === true
  } catch (error) {
    answer = `${error}`
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
})
