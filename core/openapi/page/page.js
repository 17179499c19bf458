/*
 * Runs in the browser: fetches the document of this API and shows it by Swagger UI. Where a key is
 * needed it is asked for, kept in this page only, and used for what is tried out here.
 */

const form = document.getElementById('ask')
const field = document.getElementById('key')
const said = document.getElementById('said')

function ask(why) {
  form.hidden = false
  said.textContent = why
  field.focus()
}

async function show(key) {
  said.textContent = ''
  const headers = key === '' ? {} : { Authorization: `Bearer ${key}` }
  const response = await fetch(document.body.dataset.document, { headers, cache: 'no-store' })
  const answer = await response.json()
  if (response.ok) render(answer, key)
  else if (key === '' && response.status === 401) ask('')
  else ask(answer.detailedMessage)
}

function render(spec, key) {
  form.hidden = true
  field.value = ''
  const ui = SwaggerUIBundle({
    spec,
    dom_id: '#shown',
    deepLinking: true,
    // Else it would ask a server elsewhere.
    validatorUrl: null,
    onComplete: () => {
      const schemes = spec.components.securitySchemes ?? {}
      if (key !== '' && 'bearer' in schemes) ui.preauthorizeApiKey('bearer', key)
    },
  })
}

function start(key) {
  show(key).catch((error) => ask(`The document cannot be shown: ${error.message}`))
}

form.addEventListener('submit', (event) => {
  event.preventDefault()
  start(field.value.trim())
})

// A refusal that can be foreseen would stand in red in the browser's console.
if (document.body.dataset.needsKey === 'true') ask('')
else start('')
