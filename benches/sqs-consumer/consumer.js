// npm's sqs-consumer with a handler that does nothing: consumer.js URL ENDPOINT one|batch
//
// `one` hands over and deletes each message by itself, ten at a time; `batch` takes and deletes ten in one.
import { SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const [queueUrl, endpoint, way] = process.argv.slice(2);
const credentials = { accessKeyId: "testing", secretAccessKey: "testing" };
const handler = way === "batch"
  ? { handleMessageBatch: async (messages) => messages }
  : { handleMessage: async (message) => message };
const consumer = Consumer.create({
  queueUrl, batchSize: 10, waitTimeSeconds: 1, ...handler,
  sqs: new SQSClient({ endpoint, region: "us-east-1", credentials, useQueueUrlAsEndpoint: false }),
});
for (const event of ["error", "processing_error"]) {
  consumer.on(event, (error) => { console.error(error); process.exit(1); });
}
process.on("SIGTERM", () => process.exit(0));
consumer.start();
