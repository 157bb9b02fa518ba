// The playground: an admin's key opens it, an app is made for it, and two phones and a backend talk through that. Nothing
// is kept: the key stays in memory, and the app is deleted when the page is left.

import { openBackend } from './backend.ts';
import { showCall } from './backend_view.ts';
import { find, onSubmit, setText, valueOf } from './elements.ts';
import { openStage } from './stage.ts';

const url = new URL('.', location.href).href.replace(/\/$/, '');

onSubmit('#door', '#door-fault', async (form) => {
  const backend = await openBackend({ url, adminKey: valueOf(form, 'key'), onCall: showCall });
  form.reset();
  addEventListener('pagehide', () => backend.leave());
  addEventListener('pageshow', ({ persisted }) => persisted && location.reload());
  find('#welcome').hidden = true;
  find('#stage').hidden = false;
  setText(find('#app-id'), backend.appId);
  openStage(url, backend);
  find('#tour-do').focus();
});
