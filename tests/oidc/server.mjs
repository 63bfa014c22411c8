// A real OAuth server for tests, the package oidc-provider, on a free port of loopback: prints its address.
// Two public clients, no registration; whoever logs in by its own forms may, with any name. Ends with its stdin.
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const grants = ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"];
  const client = { grant_types: grants, response_types: ["code"], application_type: "native" };
  const provider = new Provider(issuer, {
    clients: [
      { ...client, client_id: "public", token_endpoint_auth_method: "none", redirect_uris: ["http://127.0.0.1/callback"] },
      {
        ...client,
        client_id: "kept:secret",
        client_secret: process.env.CLIENT_SECRET,
        token_endpoint_auth_method: "client_secret_basic",
        redirect_uris: ["http://127.0.0.1/callback"],
      },
    ],
    features: { deviceFlow: { enabled: true }, revocation: { enabled: true } },
    claims: { email: ["email"] },
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@test.example` }) }),
    issueRefreshToken: () => true,
    rotateRefreshToken: true,
    pkce: { required: () => true },
    ttl: { AccessToken: 600, DeviceCode: 60, RefreshToken: 3600, Grant: 3600, IdToken: 600, Interaction: 600, Session: 600 },
    cookies: { keys: ["tests"] },
  });
  server.on("request", provider.callback());
  console.log(JSON.stringify({ issuer }));
});
process.stdin.resume().on("end", () => process.exit(0));
