// Reads [{secret, body, headers}, …] and writes for each what the library verified, or null for what it refused.
import { readFileSync } from "node:fs";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const answers = JSON.parse(readFileSync(0, "utf8")).map(({ secret, body, headers }) => {
  try {
    return new Webhook(secret).verify(body, headers);
  } catch (error) {
    if (error instanceof WebhookVerificationError) return null;
    throw error;
  }
});
process.stdout.write(JSON.stringify(answers));
